"""The rates of prompts and prefixes in lesson 09 are those that validation prefers."""

from course_lib.lessons import lesson09_prompts as prompts


def rates(rows):
    """The one rate of these rows, and their seeds."""
    assert len({row["lr"] for row in rows}) == 1
    return rows[0]["lr"], [row["seed"] for row in rows]


def test_the_long_runs_are_at_the_preferred_rate_which_lies_inside():
    for (task, method), lr in prompts.CHOSEN.items():
        tried = prompts.TRIED[task][method]
        assert rates(prompts.long_rows(task, method)) == (lr, list(prompts.SEEDS))
        assert min(tried) < lr < max(tried)


def test_the_film_runs_are_at_the_preferred_rate_which_lies_inside():
    for method, lr in prompts.FILMS_CHOSEN.items():
        tried = prompts.FILMS[method]
        assert rates(prompts.film_rows(method)) == (lr, list(prompts.FILMS_SEEDS))
        assert min(tried) < lr < max(tried)


def test_the_head_of_lora_is_at_the_preferred_rate_which_lies_inside():
    found = prompts.with_own_head()
    assert {row["head"] for row in found} == {prompts.HEAD_CHOSEN}
    assert [row["seed"] for row in found] == list(prompts.SEEDS)
    assert min(prompts.HEADS) < prompts.HEAD_CHOSEN < max(prompts.HEADS)
