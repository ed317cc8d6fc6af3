"""The commands `fdbpl up` and `fdbpl down`."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the servers listen.")
@click.option("--prefect-port", default=4200, show_default=True, help="The first one to try.")
@click.option("--mlflow-port", default=5000, show_default=True, help="The first one to try.")
def up(host: str, prefect_port: int, mlflow_port: int) -> None:
    """Start Prefect's server and a worker and MLflow's server, or find them running."""
    from flows import servers

    urls = servers.up(host, prefect_port, mlflow_port, say=click.echo)
    click.echo(
        f"""
  Prefect   {urls["Prefect"]}   flows, schedules, logs
  MLflow    {urls["MLflow"]}   runs and their comparison
  worker    {servers.POOL}, up to {servers.RUNS_AT_ONCE} runs at once

  start     prefect deployment run 'benchmark/playground' --watch
  logs      {servers.FOLDER}/
  end       fdbpl down"""
    )


@click.command()
def down() -> None:
    """End everything that `fdbpl up` started."""
    from flows import servers

    ended = servers.down()
    click.echo(f"ended {ended} processes" if ended else "nothing was running")
