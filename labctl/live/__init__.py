"""A lab that a Python program tells what to do, step by step. It leaves the same run directory as a scenario does.

Each step is a step of the scenario language: held against the same models, planned by the same planner, taken by the same
session, recorded in the same events. The scenario that the steps amount to grows in the run directory as `scenario.yaml`.
"""
