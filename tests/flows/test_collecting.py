"""When Python looks for garbage."""

import subprocess
import sys

CODE = """
import gc
usual = gc.get_threshold()
from flows.collecting import collect_as_usual, collect_seldom
collect_seldom()
seldom = gc.get_threshold()
collect_as_usual()
print(seldom[0] >= 100 * usual[0], gc.get_threshold() == usual, gc.isenabled())

class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        print("collected")

Cycle()
gc.collect()
Cycle()
"""


def test_garbage_is_looked_for_seldom_then_as_usual_and_not_at_the_end():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\ncollected\n"
