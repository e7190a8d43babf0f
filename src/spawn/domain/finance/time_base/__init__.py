"""The time base: calendars, day counts, payment dates and the schedule of periods."""
