-- Everything in the current schema that a statement on its tables comes by, in words that do not name the schema.
WITH relation AS (
    SELECT oid, relname::text AS name, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition, reloptions
    FROM pg_class WHERE relnamespace = current_schema()::text::regnamespace
)
SELECT 'relation', name, name, concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition,
        EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation.oid), array_to_string(reloptions, ' '))
    FROM relation
UNION ALL
SELECT 'column', attname::text, name, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
        (SELECT collname FROM pg_collation WHERE oid = attcollation), pg_get_expr(adbin, adrelid))
    FROM relation JOIN pg_attribute ON attrelid = relation.oid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
    WHERE relkind <> 'i' AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conname::text, name, concat_ws(' ', convalidated, pg_get_constraintdef(pg_constraint.oid))
    FROM relation JOIN pg_constraint ON conrelid = relation.oid
UNION ALL
SELECT 'index', one.name, of.name, concat_ws(' ', indisunique, indisprimary, indisvalid,
        substring(pg_get_indexdef(indexrelid) FROM ' USING .*'))
    FROM pg_index JOIN relation AS one ON one.oid = indexrelid JOIN relation AS of ON of.oid = indrelid
UNION ALL
SELECT 'rule', rulename::text, name, pg_get_ruledef(pg_rewrite.oid) FROM relation JOIN pg_rewrite ON ev_class = relation.oid
UNION ALL
SELECT 'trigger', tgname::text, name, concat_ws(' ', tgenabled, pg_get_triggerdef(pg_trigger.oid, true))
    FROM relation JOIN pg_trigger ON tgrelid = relation.oid WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname::text, pg_get_function_identity_arguments(pg_proc.oid), concat_ws(' ', lanname, prosecdef, prosrc,
        array_to_string(proconfig, ' '))
    FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
    WHERE pronamespace = current_schema()::text::regnamespace
UNION ALL
SELECT 'operator', oprname::text, '', oprcode::text FROM pg_operator
    WHERE oprnamespace = current_schema()::text::regnamespace
