"""Everything about the engines: connecting, reading, and what grants mean. Knows no Django.

An adapter takes a plain `Target`, returns frozen facts that are the same for all engines, and raises `AdapterError`. A
read that failed is an error or a named `Gap`, never an empty answer.
"""
