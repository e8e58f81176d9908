"""Audits the graph files of a repository: search, configuration, baseline, equal graphs."""
