"""Where nbgrader's own commands and formgrader take this course's pages.

formgrader has no setting for how it shows a submission: `protect` replaces the
exporter that its handlers use, and gives each of its answers a content policy.
"""

import functools
import sys
from pathlib import Path

from nbconvert.exporters import Exporter, HTMLExporter
from tornado.web import HTTPError

from course_lib.course.grading import rendering
from course_lib.files import read_json

EXTENSION = "nbgrader.server_extensions.formgrader"
# formgrader's lists hold inline scripts of their own; nothing of a learner's work
LISTS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
FILES = "default-src 'none'; sandbox; frame-ancestors 'none'"


class FeedbackExporter(HTMLExporter):
    """`rendering.Renderer` for `nbgrader generate_feedback` and formgrader's button."""

    def from_notebook_node(self, nb, resources=None, **kw):
        """The page and the resources, after nbgrader's own steps (scores, comments)."""
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        with rendering.Renderer() as renderer:
            page = renderer.page(nb, rendering.FEEDBACK, rendering.shown(resources))
        if page.problem:
            student = resources["nbgrader"]["student"]
            self.log.warning("Feedback of %s: %s", student, page.problem)
        return page.html, resources


class _Page:
    """What formgrader's handlers use as their exporter, for one request."""

    renderer = rendering.Renderer()  # its process stays, from page to page

    def __init__(self, handler):
        self.handler = handler

    def from_filename(self, filename, resources):
        """The page of a graded notebook; sets the policy of the answer."""
        notebook = read_json(Path(filename))
        page = self.renderer.page(notebook, rendering.FORMGRADE, resources)
        if page.problem:
            self.handler.log.warning("%s: %s", filename, page.problem)
        also = f"{page.policy}; frame-ancestors 'self'"
        self.handler.set_header("Content-Security-Policy", also)
        return page.html, resources


def _within(get):
    """A handler's ``get`` that takes no settings from outside of the server's folder.

    nbgrader runs the nbgrader_config.py of any folder that an address names, and a
    page or a mail can hold that address.
    """

    @functools.wraps(get)
    def checked(self):
        asked = self.get_argument("path", "")
        root = Path(self.settings["nbgrader_formgrader"].root_dir).resolve()
        if asked and not Path(asked).resolve().is_relative_to(root):
            raise HTTPError(403, f"{asked} is not in {root}")
        return get(self)

    return checked


def protect() -> None:
    """Let formgrader use these pages, where it is loaded in this process."""
    if EXTENSION not in sys.modules:
        return
    from nbgrader.server_extensions.formgrader import apihandlers, base, handlers

    if base.BaseHandler.exporter.fget is _Page:
        return  # done: the settings are read more than once
    handlers.FormgraderHandler.get = _within(handlers.FormgraderHandler.get)

    policies = {base.BaseHandler: LISTS, handlers.SubmissionFilesHandler: FILES}
    policies[apihandlers.BaseApiHandler] = FILES
    base.BaseHandler.exporter = property(_Page)
    for handler, rules in policies.items():
        handler.content_security_policy = property(lambda _, rules=rules: rules)
