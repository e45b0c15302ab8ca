"""Runs model files in ONNX Runtime for another program: one JSON command a line on stdin, one JSON answer a line on stdout. Arrays
pass through npy files.

{"do": "load", "model": path, "threads": n}                        -> {"session": n}
{"do": "run", "session": n, "inputs": {name: npy}, "folder": path} -> {"outputs": {name: npy}}

The first line that is written, unasked, is {"version": ...} or {"error": ...}.
"""

import json
import os
import sys


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    try:
        import onnxruntime
        import numpy
    except Exception as error:
        say({"error": str(error)})
        return
    say({"version": onnxruntime.__version__})
    onnxruntime.set_default_logger_severity(4)
    sessions = []
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        try:
            if command["do"] == "load":
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = command["threads"]
                options.inter_op_num_threads = 1
                options.log_severity_level = 4
                answer["session"] = len(sessions)
                sessions.append(onnxruntime.InferenceSession(command["model"], options, providers=["CPUExecutionProvider"]))
            else:
                session = sessions[command["session"]]
                names = [output.name for output in session.get_outputs()]
                taken = {x.name for x in session.get_inputs()}
                feeds = {name: numpy.load(path) for name, path in command["inputs"].items() if name in taken}
                answer["outputs"] = {}
                for i, (name, value) in enumerate(zip(names, session.run(names, feeds))):
                    if isinstance(value, numpy.ndarray) and value.dtype.kind in "fiub":
                        answer["outputs"][name] = os.path.join(command["folder"], f"output{i}.npy")
                        numpy.save(answer["outputs"][name], value)
        except Exception as error:  # it is the caller's to report
            answer = {"error": str(error)}
        say(answer)


main()
