"""What a run reports while it goes on, and what it leaves when it ends."""
