"""ONNX Runtime as the benchmark's peer: one JSON command a line on stdin, one JSON answer a line on stdout.

{"do": "load", "model": path, "threads": n, "inputs": {name: npy path}}  -> {"version": ...}
{"do": "run", "count": n}                                                -> {"ns": [...], "cpu_ns": [...]}
{"do": "save", "folder": path}                                           -> {"outputs": {name: npy path}}
"""

import json
import os
import sys
import time

import numpy
import onnxruntime


def load(command):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = command["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if command.get("optimized"):
        options.optimized_model_filepath = command["optimized"]
    session = onnxruntime.InferenceSession(command["model"], options, providers=["CPUExecutionProvider"])
    return session, {name: numpy.load(path) for name, path in command["inputs"].items()}


def main():
    onnxruntime.set_default_logger_severity(3)
    session, feed = None, None
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        try:
            if command["do"] == "load":
                session = None
                session, feed = load(command)
                answer["version"] = "ONNX Runtime " + onnxruntime.__version__
            elif command["do"] == "run":
                answer["ns"], answer["cpu_ns"] = [], []
                for _ in range(command["count"]):
                    start, cpu = time.perf_counter_ns(), time.process_time_ns()
                    session.run(None, feed)
                    answer["ns"].append(time.perf_counter_ns() - start)
                    answer["cpu_ns"].append(time.process_time_ns() - cpu)
            elif command["do"] == "save":
                answer["outputs"] = {}
                names = [output.name for output in session.get_outputs()]
                for i, (name, value) in enumerate(zip(names, session.run(names, feed))):
                    path = os.path.join(command["folder"], f"output{i}.npy")
                    numpy.save(path, value)
                    answer["outputs"][name] = path
        except Exception as error:  # the benchmark reports it and goes on
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
