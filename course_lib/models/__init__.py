"""Pretrained models: loaded by name, their heads, features and preprocessing.

`zoo.load` is the door.  Behind it: `backbone` (what a Backbone is), `bundled`,
`public`, `hub` and `public_weights` (where weights come from), `encoders` and
`language_models` (text), `weight_files` (weights of one's own).  What one does with a
model: `heads`, `stages`, `features` (forward passes, activations, receptive fields),
`preprocessing`, `text` (tokens), `quantization` (four bits).
"""
