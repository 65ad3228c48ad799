"""Recipes: functions that return a config, with the source of every number beside it."""
