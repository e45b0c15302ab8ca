"""Records ONNX nodes by the helper API of the onnx package."""

import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """A graph under construction at operator set 17; every node has one output, named after the node."""

    types = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}

    def __init__(self, name):
        self.name, self.nodes, self.inputs, self.params = name, [], [], []

    def input(self, name, dtype, shape):
        self.inputs.append(helper.make_tensor_value_info(name, self.types[dtype], shape))
        return name

    def param(self, name, tensor):
        self.params.append(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name))
        return name

    def add(self, kind, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def save(self, path, value, output, shape):
        """Writes the model with the given value as its one output, a float tensor under the name output."""
        for node in self.nodes:
            node.output[:] = [output if v == value else v for v in node.output]
        graph = helper.make_graph(self.nodes, self.name, self.inputs,
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], self.params)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="neuroquant")
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
