"""Renderers and recipes of the bundled weights: formula-driven pre-training.

`light_imports` keeps torch's compiler out of the import of torchvision and timm.
"""
