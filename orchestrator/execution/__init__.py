"""Where and how attempts are executed: launchers, the task they carry, and what a worker does with it."""
