"""The frozen record of a run, and the closed form that it is compared with."""
