"""Tests, by depth: unit (pure), contract (between rooms), e2e (a real process)."""
