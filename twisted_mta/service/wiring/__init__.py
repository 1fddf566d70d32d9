"""What is made of the configuration: a module for each part of the house."""
