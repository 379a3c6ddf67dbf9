"""The machine: its processors, its memory, its addresses and the variables that it gives."""
