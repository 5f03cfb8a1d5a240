"""Options that take every word up to the next option, which click does not have."""

from typer.core import TyperCommand


class ManyWords(TyperCommand):
    """A command whose repeatable options take many words at once, or none.

    click's options take a fixed number of words.  `--recompute A B` is read as
    `--recompute=A --recompute=B`, and `--recompute` alone as `--recompute=`.
    """

    def parse_args(self, ctx, args):
        """Spell the options out, then read the words as click does."""
        many = {
            name
            for parameter in self.params
            if getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        spelled, option, taken = [], None, 0
        for word in [*args, "--"]:
            if not word.startswith("-") and option:
                spelled.append(f"{option}={word}")
                taken += 1
                continue
            if option and not taken:
                spelled.append(f"{option}=")
            option, taken = (word, 0) if word in many else (None, 0)
            if not option:
                spelled.append(word)
        return super().parse_args(ctx, spelled[:-1])
