"""Analysis of results: tables that compare models."""
