#!/usr/bin/env bash
# onnxscript 0.7.2 (onnx 1.22.0): its optimizer, which torch.onnx.export(dynamo=True)
# runs on every model, takes the constant in "x + 1e-8" for a zero and removes the
# addition.  Constants are compared with an absolute tolerance of 1e-8.  In
# sqrt(variance + 1e-8), a usual guard, the exported model then gives 0 instead of 1e-4
# where the variance is 0, and a division by that deviation is no longer guarded.  No
# warning is given.  With 1e-5 the addition stays.
#
# Seen on 2026-11-29: sqrt(v + 1e-8) for v = 0, 1e-9, 1 is 1.0e-4, 1.05e-4, 1 before and
# 0, 3.2e-5, 1 after onnxscript.optimizer.optimize.
# Source: own observation, in an exported network whose answers had moved.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet onnx==1.22.0 onnx-ir==1.1.0 onnxscript==0.7.2 \
  onnxruntime==1.32.0 numpy==2.4.6
"$where/env/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import onnxscript.optimizer
from onnx import TensorProto, helper, numpy_helper


def guarded(small):
    """sqrt(v + small) for three numbers."""
    v, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "vy"
    )
    constant = numpy_helper.from_array(np.array(small, dtype=np.float32), "eps")
    nodes = [
        helper.make_node("Add", ["v", "eps"], ["sum"]),
        helper.make_node("Sqrt", ["sum"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "guarded", [v], [y], [constant])
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def answers(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"v": np.array([0, 1e-9, 1], dtype=np.float32)})[0]


found = {}
for small in (1e-8, 1e-5):
    model = guarded(small)
    optimized = onnxscript.optimizer.optimize(model)
    found[small] = [node.op_type for node in optimized.graph.node]
    print(small, found[small], answers(model), answers(optimized))
assert found == {1e-8: ["Sqrt"], 1e-5: ["Add", "Sqrt"]}, "the behaviour changed"
assert answers(onnxscript.optimizer.optimize(guarded(1e-8)))[0] == 0
PY
