"""The frozen record of a run, its fixed words, and the closed form it is compared with."""
