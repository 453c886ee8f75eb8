"""Rewards for text; `kpg.rewards` names them all."""
