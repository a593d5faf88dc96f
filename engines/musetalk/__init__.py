"""The engine that draws photoreal lips with MuseTalk's networks."""
