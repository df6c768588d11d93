"""What can be done to a store, each thing written once for every dialect and both colours of driver."""
