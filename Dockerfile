# One container per environment: tini, supervisord, and the one process. Settings come from the environment (.env.example).
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements-uv.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements-uv.lock
RUN uv venv /app && uv pip install --python /app/bin/python --require-hashes --requirement requirements.lock
COPY requirements-dev.lock pyproject.toml README.md LICENSE ./
COPY trendedge trendedge
RUN uv build --wheel --build-constraints requirements-dev.lock --require-hashes --out-dir /wheel . \
    && uv pip install --python /app/bin/python --no-deps /wheel/*.whl

FROM python:${PYTHON}
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/trendedge trendedge
COPY --from=build /app /app
COPY supervisord.conf scripts/end_on_fatal.py scripts/healthcheck.py /etc/trendedge/
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 TRENDEDGE_HOME=/var/lib/trendedge
USER trendedge
WORKDIR /var/lib/trendedge
VOLUME /var/lib/trendedge
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "/etc/trendedge/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["supervisord", "-n", "-c", "/etc/trendedge/supervisord.conf"]
