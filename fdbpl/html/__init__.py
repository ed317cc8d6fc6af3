"""The report as one HTML file: functions from plain values to markup, without scripts or links."""
