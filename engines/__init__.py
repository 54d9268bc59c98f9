"""The engines: connecting, reading, and the meaning of grants. Imports no Django.

An adapter takes a `Target`, returns immutable facts of the same types for all engines, and raises `AdapterError`. A
failed read is an error or a `Gap`, never an empty answer.
"""
