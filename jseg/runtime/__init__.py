"""Makes `import jittor` succeed on this machine with nothing but pip and a C++ compiler.

`environment` looks for what Jittor needs (standard library only); `backend` is the one place
from which the rest of jseg imports Jittor; `doctor` reports what was found.
"""
