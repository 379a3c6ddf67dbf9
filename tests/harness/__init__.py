"""The test harness: tiny artifacts, foreign graphs, HTTP client and images."""
