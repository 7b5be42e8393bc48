"""The load generator: subscribers and publishers in one process of its own, told what to do in JSON
lines.
"""
