"""`course diagnose`: whether, what and how to transfer, and how sure that is.

:mod:`diagnosis` is the whole: :mod:`own_samples` checks and splits the pictures by the
:mod:`settings`, :mod:`training_runs` trains each arm and looks at the source,
:mod:`judging` draws the conclusions, :mod:`explained` says them in words, figures and a
page.  :mod:`decisions` is the tree of questions to ask before anything is trained.
"""
