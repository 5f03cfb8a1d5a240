"""A command as typer reads it, with two things that typer does not have."""

import typer
from typer.core import TyperCommand


class TypedCommand(TyperCommand):
    """Options for many words at once, and errors that know their command.

    An option takes a fixed number of words for typer.  Where its metavar is like
    `[NAME]...` it takes all words up to the next option, or none: `--recompute A B`
    is read as `--recompute=A --recompute=B`, and `--recompute` as `--recompute=`.
    """

    def parse_args(self, ctx, args):
        """Spell such options out, then read the words as typer does."""
        try:
            return super().parse_args(ctx, self._spelled(args))
        except typer.TyperException as error:
            error.ctx = getattr(error, "ctx", None) or ctx
            raise

    def _spelled(self, words: list[str]) -> list[str]:
        many = {
            name
            for parameter in self.params
            if str(parameter.metavar).endswith("]...")
            for name in parameter.opts
        }
        spelled, option, taken = [], None, 0
        for word in [*words, "--"]:
            if option and not word.startswith("-"):
                spelled.append(f"{option}={word}")
                taken += 1
                continue
            if option and not taken:
                spelled.append(f"{option}=")
            option, taken = (word, 0) if word in many else (None, 0)
            if not option:
                spelled.append(word)
        return spelled[:-1]
