"""What is shown of jobs, queues, workers and schedules: frozen structs with one JSON form each."""
