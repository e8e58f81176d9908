"""`bnguard run PROGRAM`: a program's own steps, judged as they run.

Importing this package does not import TensorFlow, which the program may never do.
"""
