"""Plans of measurements: plan, run, resume."""
