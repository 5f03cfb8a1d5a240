"""The files of commands, loaded when they are needed."""

import importlib


def run(task: str, *arguments) -> int:
    """Call ``file.function`` of this folder; its exit code.

    The one late import of the command line: the files import torch, nbgrader or Sphinx
    at their top, and neither help nor a wrong option shall wait for that.
    """
    file, _, function = task.partition(".")
    module = importlib.import_module(f"{__package__}.{file}")
    return getattr(module, function)(*arguments)
