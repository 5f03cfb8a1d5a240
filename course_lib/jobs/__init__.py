"""`course train`, `predict`, `pretrain --on`: own data, a configuration, a report.

:mod:`pipeline` is the whole job.  It reads a :mod:`configuration` and one's
:mod:`own_data`, makes model and recipe in :mod:`assembly`, runs frozen layers once
(:mod:`stored_stages`), trains in :mod:`job_runs`, or in several runs whose weights
:mod:`combined_weights` makes one of, and ends with an :mod:`outcome`, which
:mod:`reporting` and :mod:`model_card` put into words and :mod:`storage` writes.
:mod:`exported` is the model as a folder, :mod:`prediction` what it says of new
examples.  :mod:`pretrain_job` learns from pictures without labels, :mod:`anomaly_job`
remembers normal ones.
"""
