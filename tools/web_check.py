"""Read the web edition as its readers do: links, Chromium, search, accessibility.

    course web --to site
    npm install --prefix /tmp/axe axe-core
    python tools/web_check.py site --axe /tmp/axe/node_modules/axe-core/axe.min.js

Needs selenium, and Debian's chromium and chromium-driver.  Serves the folder by
`http.server` to a headless Chromium that reaches nothing else, and checks every page:
links lead to files and anchors that exist; nothing is asked of another machine; the
console stays empty; every picture loads and has an alternative text; headings descend
one level at a time; axe-core finds nothing, in light and in dark colours.  Then it
searches, and moves through a lesson by keyboard.  Without --axe that part is left out.
Prints figures; exits with 1 if there is a broken link, an error, a foreign request, a
search without result, or a serious or critical finding.
"""

import argparse
import collections
import functools
import html.parser
import http.server
import json
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

WORDS = {  # searched for: a page that has to be among the results
    "BatchNorm": "notebooks/05_silent_failures",
    "checkpointing": "notebooks/10_qlora",
    "freeze_until": "library/freezing",
    "polymer": "data/cards/tickets",
}
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1600",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


# -- links, without a browser -------------------------------------------------------


class Page(html.parser.HTMLParser):
    """The ids and the links of one page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("name"):
            self.ids.add(given["name"])
        for key in ("href", "src"):
            if given.get(key) is not None:
                self.links.append(given[key])


def broken_links(folder):
    """(links checked, problems, links to other hosts) of all pages in a folder."""
    folder = Path(folder).resolve()
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    checked, problems, outside = 0, [], set()
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme != "data":
                    outside.add(link)
                continue
            checked += 1
            name = urllib.parse.unquote(parts.path)
            there = (path.parent / name).resolve() if name else path
            if there.is_dir():
                there /= "index.html"
            where = f"{path.relative_to(folder)}: {link}"
            if folder not in there.parents:
                problems.append(f"{where} leaves the site")
            elif not there.is_file():
                problems.append(f"{where} does not exist")
            elif parts.fragment and there in pages:
                anchor = urllib.parse.unquote(parts.fragment)
                if anchor not in pages[there].ids:
                    problems.append(f"{where} has no such anchor")
    return checked, problems, outside


# -- in Chromium ----------------------------------------------------------------------

PICTURES = """
return [...document.images].map(i => { i.loading = 'eager'; return i; })
  .filter(i => !i.hasAttribute('alt')).length;
"""
LOADED = """
const done = arguments[arguments.length - 1];
Promise.all([...document.images].map(i => i.decode().then(() => 0, () => 1)))
  .then(all => done(all.reduce((a, b) => a + b, 0)));
"""
HEADINGS = """
return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')]
  .filter(h => h.offsetParent !== null).map(h => +h.tagName[1]);
"""
AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(
  v => ({id: v.id, impact: v.impact, help: v.help,
         nodes: v.nodes.map(n => n.html.slice(0, 160) + ' || ' + (n.any[0] ||
           {message: ''}).message)})))).catch(e => done('failed: ' + e));
"""
COLOURS = "document.documentElement.dataset.theme = arguments[0];"
RESULTS = """
return [...document.querySelectorAll('#search-results ul.search li a')]
  .map(a => a.getAttribute('href'));
"""
FOCUS = """
const e = document.activeElement; if (!e || e === document.body) return null;
const box = e.getBoundingClientRect(), look = getComputedStyle(e);
const said = (e.innerText || e.title || e.ariaLabel || '').trim();
return {what: e.tagName + ' ' + [...said].slice(0, 40).join(''),
  seen: look.outlineStyle !== 'none' || look.boxShadow !== 'none',
  size: box.width * box.height};
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *said):
        pass


def served(folder):
    """(server, address) of a folder, in a thread."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def browser(profile):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    return driver


def foreign(driver, address):
    """Requests since the last call that were not for this server."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith((address, "data:", "blob:", "chrome")):
                found.append(url)
    return found


def looked_at(driver, address, name, axe):
    """What is wrong with one page: (problems, axe's findings)."""
    driver.get(f"{address}/{name}")
    problems = []
    if driver.execute_script(PICTURES):
        problems.append("a picture without alternative text")
    if driver.execute_async_script(LOADED):
        problems.append("a picture that does not load")
    levels = driver.execute_script(HEADINGS)
    if levels.count(1) != 1 or levels[0] != 1:
        problems.append(f"headings begin {levels[:3]}")
    problems += [
        f"heading h{b} after h{a}" for a, b in zip(levels, levels[1:]) if b > a + 1
    ]
    findings = []
    if axe:
        driver.execute_script(axe)
        for colours in ("light", "dark"):
            driver.execute_script(COLOURS, colours)
            time.sleep(0.35)  # colours fade
            found = driver.execute_async_script(AXE)
            if isinstance(found, str):
                problems.append(f"axe {found}")
            else:
                findings += [{**f, "page": name, "colours": colours} for f in found]
    for line in driver.get_log("browser"):
        if line["level"] in ("SEVERE", "WARNING"):
            problems.append(f"console {line['level']}: {line['message'][:200]}")
    problems += [f"asks {url}" for url in foreign(driver, address)]
    return problems, findings


def searched(driver, address, word, page):
    """The number of results of a search; problems, in words."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    driver.get(f"{address}/index.html")
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.CONTROL, "k")
    time.sleep(0.5)
    field = driver.switch_to.active_element
    if field.tag_name != "input":
        return 0, ["Ctrl-K opens no search field"]
    field.send_keys(word, Keys.ENTER)
    found, before = [], None
    for _ in range(40):
        time.sleep(0.5)
        found = driver.execute_script(RESULTS)
        if found and found == before:
            break
        before = found
    if not any(f"{page}.html" in link for link in found):
        return len(found), [f"search for {word!r} does not find {page}: {found[:5]}"]
    return len(found), []


def by_keyboard(driver, address, name, steps=60):
    """Press Tab through a page: (places reached, problems)."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    driver.get(f"{address}/{name}")
    problems, places = [], []
    for _ in range(steps):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        place = driver.execute_script(FOCUS)
        if place:
            places.append(place["what"])
            if not place["seen"]:
                problems.append(f"focus not seen on {place['what']!r}")
    if not places or "Skip to main content" not in places[0]:
        problems.append(f"the first stop is {places[:1]}, not the skip link")
    if len(set(places)) < steps / 3:
        problems.append(f"only {len(set(places))} places in {steps} steps")
    driver.get(f"{address}/{name}")
    driver.switch_to.active_element.send_keys(Keys.TAB)
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    main = driver.find_element(By.CSS_SELECTOR, "main").location["y"]
    if driver.execute_script("return location.hash") == "" or main > 1600:
        problems.append("the skip link does not lead to the text")
    return len(set(places)), problems


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of the package axe-core")
    parser.add_argument("--shots", type=Path, help="folder for pictures of some pages")
    parser.add_argument("--pages", nargs="*", help="only these (default: all)")
    args = parser.parse_args(argv)
    site = args.site.resolve()
    axe = args.axe.read_text(encoding="utf-8") if args.axe else ""
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    names = [n for n in names if not args.pages or n in args.pages]
    if not names:
        raise SystemExit(f"There are no pages in {site}.")

    checked, broken, outside = broken_links(site)
    print(f"{len(names)} pages; {checked:,} internal links, {len(broken)} broken")
    print(f"{len(outside)} links to other hosts (not followed)", flush=True)
    problems, findings = list(broken), []
    server, address = served(site)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            for number, name in enumerate(names, 1):
                if number % 25 == 0:
                    print(f"  {number} pages looked at", flush=True)
                wrong, found = looked_at(driver, address, name, axe)
                problems += [f"{name}: {one}" for one in wrong]
                findings += found
                if args.shots:
                    shot(driver, args.shots, name)
            for word, page in WORDS.items():
                if (site / f"{page}.html").exists():
                    count, wrong = searched(driver, address, word, page)
                    print(f"search {word!r}: {count} results")
                    problems += wrong
            lesson = next((n for n in names if n.startswith("notebooks/")), names[0])
            places, wrong = by_keyboard(driver, address, lesson)
            print(f"{lesson} by keyboard: {places} places in 60 steps")
            problems += wrong
        finally:
            driver.quit()
            server.shutdown()
    print(f"looked at in Chromium for {time.monotonic() - started:.0f} s")
    serious = report(findings) if axe else 0
    print(f"{len(problems)} problems")
    for problem in problems[:60]:
        print(f"  {problem}")
    return 1 if problems or serious else 0


def report(findings):
    """Print axe's findings by impact and rule; the number of serious ones."""
    counts = collections.Counter(f["impact"] for f in findings)
    for impact in ("critical", "serious", "moderate", "minor"):
        print(f"axe {impact}: {counts[impact]} findings")
    rules = collections.defaultdict(list)
    for found in findings:
        rules[found["impact"], found["id"], found["help"]].append(found)
    for (impact, rule, text), all_of in sorted(rules.items()):
        pages = {f["page"] for f in all_of}
        print(f"  {impact} {rule}: {text} ({len(pages)} pages)")
        for node in all_of[0]["nodes"][:3]:
            print(f"    {all_of[0]['page']} {all_of[0]['colours']}: {node}")
    return counts["critical"] + counts["serious"]


def shot(driver, folder, name):
    """A picture of the top of a page, in light colours."""
    folder.mkdir(parents=True, exist_ok=True)
    driver.execute_script(COLOURS, "light")
    driver.save_screenshot(str(folder / f"{name.replace('/', '_')}.png"))


if __name__ == "__main__":
    sys.exit(main())
