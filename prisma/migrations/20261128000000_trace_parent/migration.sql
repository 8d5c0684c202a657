-- Where in a trace an event was emitted. This migration only expands, and lands while the version before it runs:
-- - The column may be null and has no default, so it is a change of the catalog and rewrites nothing. Statements that do not
--   know it name the columns that they read and write, so they go on, before and after.
-- - The check is NOT VALID: it holds for every row written from now on, and the rows that are there, which would be read under
--   the lock, have null in this new column and fit. It needs no VALIDATE later.
-- - Both need the table for themselves, for a moment. Whoever waits for that makes all that come later wait behind it, so
--   the wait ends after 200 ms and starts anew half a second later: a long query holds up nobody else. After two minutes of
--   that the migration fails and has changed nothing.
-- A version without the column (contract) may only drop it when no process of a version that reads it is left.
DO $$
BEGIN
  SET LOCAL lock_timeout = '200ms';
  FOR try IN 1..170 LOOP
    BEGIN
      -- AlterTable
      ALTER TABLE "events" ADD COLUMN "trace_parent" TEXT,
        ADD CONSTRAINT "events_trace_parent_shape"
          CHECK ("trace_parent" ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$') NOT VALID;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table events was in use for two minutes: end what holds it first';
END
$$;
