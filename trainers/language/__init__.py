"""Trainers on text tasks."""
