"""
Conversion of float32 graphs to 8 bits: calibrated, compared with float32, and measured.

`convoy quantize` converts artifacts, and `convoy export --precision int8` converts what it has just
exported, with the same code. Nothing here needs PyTorch.
"""
