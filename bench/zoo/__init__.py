"""The zoo: every network trained small on one task, served, measured, and written down."""
