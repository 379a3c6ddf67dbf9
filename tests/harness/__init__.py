"""The test harness: servers and processes, tiny artifacts, foreign graphs, images, HTTP."""
