"""Any pose network made lighter: fewer channels (`prune`), factorised layers (`lowrank`), fewer bits
(`quantize`, `qat`).

All of it works on a `GraphNetwork`, the network as a list of operations, which `start.load` makes of a
checkpoint, of a network of the zoo or of somebody's ONNX file. What each step loses, `repair` gives back: the
original is the teacher of its compressed self. `search` measures, `command.compress` puts them in a row.
"""
