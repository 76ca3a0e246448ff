# feedd as an OCI image; deploy/compose.yaml shows how to run it. Nothing in it runs in a shell or as root, and it
# writes to /feeds, /state and /tmp alone, so that its root may be read-only.

FROM docker.io/library/python:3.13-slim-trixie AS build
WORKDIR /src
# The base image has its standard library without bytecode, and a read-only root cannot keep any: each start, and each
# health check, would compile it anew (0.2 s of a processor). /compiled is laid over it.
RUN python -m compileall -q -x '/(ensurepip|idlelib|pydoc_data|site-packages|tkinter|turtledemo)/' /usr/local/lib/python3.13 \
    && mkdir /compiled \
    && find /usr/local/lib/python3.13 -name '*.pyc' -not -path '*/site-packages/*' -exec cp --parents --target-directory /compiled {} +
COPY deploy/requirements.lock ./
# feedgen has no wheel; everything else is one. Without pip: nothing is installed later. Volumes begin with the owner and
# the mode of the folders below /out.
RUN python -m venv --without-pip /opt/feedd \
    && pip --python /opt/feedd/bin/python install --no-cache-dir --require-hashes --only-binary :all: --no-binary feedgen \
        --requirement requirements.lock \
    && mkdir -p /out/articles /out/feeds && mkdir -m 700 /out/state
COPY pyproject.toml README.md ./
COPY feedd ./feedd
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip --python /opt/feedd/bin/python install --no-cache-dir --no-deps /wheels/feedd-*.whl

FROM docker.io/library/python:3.13-slim-trixie
COPY --from=build /compiled /
COPY --from=build /opt/feedd /opt/feedd
COPY --from=build --chown=10001:10001 /out /
COPY deploy/container.toml /etc/feedd/config.toml
ENV PATH=/opt/feedd/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
USER 10001:10001
WORKDIR /tmp
VOLUME ["/feeds", "/state"]
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m CMD ["feedd", "--config", "/etc/feedd/config.toml", "healthcheck"]
ENTRYPOINT ["feedd", "--config", "/etc/feedd/config.toml"]
CMD ["run"]
