"""Makes `import jittor` work on this machine with only pip and a C++ compiler.

`environment` finds the dependencies of Jittor (standard library only). The rest of jseg imports Jittor only
from `backend`. `jseg.doctor` reports what was found.
"""
