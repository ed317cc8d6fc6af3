# fdbpl serve in a container: what serving needs, and no torch. docs/deploy.md says how to run it.
FROM python:3.12-slim

WORKDIR /src
COPY constraints.txt requirements-serve.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r requirements-serve.txt
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps .

RUN useradd --create-home --shell /usr/sbin/nologin fdbpl
USER fdbpl
WORKDIR /home/fdbpl
EXPOSE 8000
HEALTHCHECK --start-period=20s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["fdbpl", "serve", "/model", "--host", "0.0.0.0"]
