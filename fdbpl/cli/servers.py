"""The commands `fdbpl up` and `fdbpl down`."""

import os

import click

from fdbpl.cli.options import repair_first

PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the servers listen.")
@click.option("--prefect-port", type=PORT, default=4200, show_default=True, help="Or the next.")
@click.option("--mlflow-port", type=PORT, default=5000, show_default=True, help="Or the next.")
def up(host: str, prefect_port: int, mlflow_port: int) -> None:
    """Start Prefect's server and a worker and MLflow's server, or find them running."""
    from flows import servers
    from flows.environment import prefix

    repair_first()
    urls = servers.up(host, prefect_port, mlflow_port, say=click.echo)
    click.echo(
        f"""
  Prefect   {urls["Prefect"]}   flows, schedules, logs
  MLflow    {urls["MLflow"]}   runs and their comparison
  worker    {servers.POOL}, up to {servers.RUNS_AT_ONCE} runs at once
  password  cat {servers.SECRET_FILE}   of both, under any name

  start     {prefix(os.environ, host)}prefect deployment run 'benchmark/playground' --watch
  logs      {servers.FOLDER}/
  end       fdbpl down"""
    )


@click.command()
def down() -> None:
    """End everything that `fdbpl up` started."""
    from flows import servers

    repair_first()
    ended = servers.down()
    click.echo(f"ended {ended} processes" if ended else "nothing was running")
