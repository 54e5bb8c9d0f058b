"""Measurements. Every result has quality beside speed, and names the commit, the machine and the seed it came from."""
