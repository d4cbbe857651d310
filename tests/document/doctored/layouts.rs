//! The same document in another layout.

use serde_json::{Value, json};

use super::{
    super::refreshing::{RESULT, at},
    rows::{Row, component, path, rename, result},
};

pub(super) const LAYOUTS: [Row; 29] = [
    ("nothing", |_| (), "nothing changed"),
    (
        "types are lists, as OpenAPI 3.1 has them",
        |d| {
            d["openapi"] = json!("3.1.0");
            ["/paths", "/components/schemas"].iter().for_each(|part| {
                walk(component(d, part), &|schema| {
                    if schema["type"].is_string() {
                        schema["type"] = json!([schema["type"]])
                    }
                })
            })
        },
        "only the layout",
    ),
    (
        "a value is a const",
        |d| {
            component(d, "/components/schemas/mq_api-v4-success/properties")["success"] =
                json!({ "type": "boolean", "const": true })
        },
        "only the layout",
    ),
    (
        "a body is referred to",
        |d| {
            let body = at(d, "~1pull/post")["requestBody"].take();
            d["components"]["requestBodies"]["pull"] = body;
            at(d, "~1pull/post")["requestBody"] = json!({ "$ref": "#/components/requestBodies/pull" })
        },
        "only the layout",
    ),
    (
        "a response is referred to",
        |d| {
            let body = at(d, "~1pull/post/responses")["200"].take();
            d["components"]["responses"]["pulled"] = body;
            at(d, "~1pull/post/responses")["200"] = json!({ "$ref": "#/components/responses/pulled" })
        },
        "only the layout",
    ),
    (
        "a schema is one of one",
        |d| {
            let schema = at(d, "~1pull/post/responses/200/content/application~1json")["schema"].take();
            at(d, "~1pull/post/responses/200/content/application~1json")["schema"] = json!({ "oneOf": [schema] })
        },
        "only the layout",
    ),
    (
        "a schema is any of two",
        |d| {
            let count = result(d, "~1ack", "/ackCount").take();
            *result(d, "~1ack", "/ackCount") = json!({ "anyOf": [count, { "type": "number", "maximum": 7 }] })
        },
        "only the layout",
    ),
    (
        "a path is referred to",
        |d| {
            let item = d["paths"][path("pull")].take();
            d["components"]["pathItems"]["pull"] = item;
            d["paths"][path("pull")] = json!({ "$ref": "#/components/pathItems/pull" })
        },
        "nothing changed",
    ),
    (
        "parameters are described with the path",
        |d| {
            let parameters = at(d, "~1pull/post")["parameters"].take();
            at(d, "~1pull/post").as_object_mut().unwrap().remove("parameters");
            at(d, "~1pull")["parameters"] = parameters
        },
        "only the layout",
    ),
    (
        "a media type has a parameter",
        |d| {
            let pull = at(d, "~1pull/post/responses/200/content");
            rename(pull, "application/json", "application/json; charset=utf-8")
        },
        "only the layout",
    ),
    (
        "the server's address has a variable",
        |d| {
            let version = json!({ "default": "v4", "description": "The version." });
            d["servers"] = json!([{ "url": "https://api.cloudflare.com/client/{v}/", "variables": { "v": version } }])
        },
        "only the layout",
    ),
    (
        "credentials are called otherwise",
        |d| {
            let text = d.to_string().replace("api_token", "apiToken").replace("\"bearer\"", "\"Bearer\"");
            *d = serde_json::from_str(&text).unwrap()
        },
        "only the layout",
    ),
    (
        "references lead to references",
        |d| {
            let operation = at(d, "~1pull/post");
            let parts = ["/parameters/0", "/requestBody", "/responses/200"]
                .map(|part| operation.pointer_mut(part).unwrap().take());
            for ((part, kind), value) in
                [("/parameters/0", "parameters"), ("/requestBody", "requestBodies"), ("/responses/200", "responses")]
                    .into_iter()
                    .zip(parts)
            {
                *at(d, "~1pull/post").pointer_mut(part).unwrap() =
                    json!({ "$ref": format!("#/components/{kind}/way") });
                d["components"][kind]["way"] = json!({ "$ref": format!("#/components/{kind}/end") });
                d["components"][kind]["end"] = value
            }
            let item = d["paths"][path("pull")].take();
            d["components"]["pathItems"]["end"] = item;
            d["components"]["pathItems"]["way"] = json!({ "$ref": "#/components/pathItems/end" });
            d["paths"][path("pull")] = json!({ "$ref": "#/components/pathItems/way" });
            let schemes = &mut d["components"]["securitySchemes"];
            schemes["end"] = schemes["api_token"].take();
            schemes["api_token"] = json!({ "$ref": "#/components/securitySchemes/end" })
        },
        "only the layout",
    ),
    (
        "what says nothing is stated",
        |d| {
            let lease = component(d, "/components/schemas/mq_lease-id");
            lease["minLength"] = json!(0);
            lease["nullable"] = json!(false);
            let body = at(d, "~1ack/post/requestBody/content/application~1json/schema");
            body["minProperties"] = json!(0);
            body["additionalProperties"] = json!(true);
            body["required"] = json!([]);
            body["properties"]["acks"]["minItems"] = json!(0);
            body["properties"]["acks"]["uniqueItems"] = json!(false)
        },
        "only the layout",
    ),
    (
        "the values have types",
        |d| {
            walk(d, &|schema| {
                if schema["enum"].is_array() {
                    schema.as_object_mut().unwrap().remove("type");
                }
            })
        },
        "only the layout",
    ),
    (
        "definitions are not used",
        |d| {
            component(d, "/components/schemas/mq_lease-id")["definitions"] = json!({ "enum": { "type": "string" } });
            component(d, "/components/schemas/mq_lease-id")["$defs"] = json!({ "items": { "type": "string" } })
        },
        "only the layout",
    ),
    (
        "extensions are anywhere",
        |d| {
            d["x-more"] = json!([1]);
            d["components"]["x-more"] = json!("text");
            d["components"]["x-others"] = json!({ "one": 1 });
            d["paths"]["x-more"] = json!("text");
            at(d, "~1pull")["x-more"] = json!(true);
            at(d, "~1pull/post/responses")["x-more"] = json!({ "$ref": "nowhere" })
        },
        "nothing changed",
    ),
    (
        "definitions are called like keywords",
        |d| {
            let schema = at(d, "~1pull/post/responses/200/content/application~1json/schema");
            let result = schema["allOf"][1]["properties"]["result"].take();
            schema["$defs"] = json!({ "title": result, "properties": { "type": "string" }, "x-more": {}, "enum": {} });
            let here = format!("#/paths/{}/post/responses/200/content", path("pull").replace('/', "~1"));
            at(d, &format!("~1pull/{RESULT}"))["$ref"] = json!(format!("{here}/application~1json/schema/$defs/title"))
        },
        "only the layout",
    ),
    (
        "values are written like keywords",
        |d| {
            let pull = at(d, "~1pull/post/requestBody/content/application~1json");
            pull["example"] = json!({ "$ref": "nowhere" });
            pull["schema"]["examples"] = json!([{ "$ref": "nowhere" }])
        },
        "nothing changed",
    ),
    (
        "a schema is within an operation of others, and the way to it is percent-encoded",
        |d| {
            let result = at(d, &format!("~1pull/{RESULT}")).take();
            let content = json!({ "application/json": { "schema": { "properties": { "a b": result } } } });
            d["paths"]["/zones/{id}"]["get"] = json!({ "responses": { "200": { "content": content } } });
            let way = "#/paths/~1zones~1%7Bid%7D/get/responses/200/content/application~1json/schema/properties/a%20b";
            at(d, &format!("~1pull/{RESULT}"))["$ref"] = json!(way)
        },
        "only the layout",
    ),
    (
        "a path is referred to, with a part of it",
        |d| {
            let mut item = d["paths"][path("pull")].take();
            let parameters = item["post"].as_object_mut().unwrap().remove("parameters").unwrap();
            d["components"]["pathItems"]["pull"] = item;
            d["paths"][path("pull")] = json!({ "$ref": "#/components/pathItems/pull", "parameters": parameters })
        },
        "only the layout",
    ),
    (
        "a parameter has a media type",
        |d| {
            let schema = json!({ "application/json": { "schema": { "type": "string" } } });
            at(d, "~1pull")["parameters"] = json!([{ "name": "Accept", "in": "header", "content": schema }])
        },
        "only the layout",
    ),
    (
        "a parameter of a path is replaced",
        |d| {
            let other =
                json!({ "name": "queue_id", "in": "path", "schema": { "type": "object", "properties": { "a": {} } } });
            at(d, "~1pull")["parameters"] = json!([other])
        },
        "only the layout",
    ),
    (
        "a body is any JSON",
        |d| {
            rename(at(d, "~1pull/post/responses/200/content"), "application/json", "application/*");
            rename(at(d, "~1ack/post/requestBody/content"), "application/json", "*/*")
        },
        "only the layout",
    ),
    ("a status is written otherwise", |d| rename(at(d, "~1pull/post/responses"), "4XX", "4xx"), "only the layout"),
    (
        "a bound is a decimal number",
        |d| component(d, "/components/schemas/mq_api-v4-error/items/properties")["code"]["minimum"] = json!(1000.0),
        "only the layout",
    ),
    (
        "the usual is stated",
        |d| {
            for parameter in at(d, "~1pull/post/parameters").as_array_mut().unwrap() {
                parameter["style"] = json!("simple");
                parameter["explode"] = json!(false);
                parameter["deprecated"] = json!(false)
            }
        },
        "only the layout",
    ),
    (
        "a field is all of one, with words",
        |d| {
            let id = json!({ "$ref": "#/components/schemas/mq_lease-id" });
            component(d, "/components/schemas/mq_queue-pull-batch/items/properties")["lease_id"] =
                json!({ "allOf": [id, { "deprecated": false }] })
        },
        "only the layout",
    ),
    (
        "schemas are within an operation, and the way to them is escaped",
        |d| {
            let schema = at(d, "~1pull/post/responses/200/content/application~1json/schema");
            schema["$defs"] = json!({ "Pulled": schema["allOf"][1]["properties"]["result"].take() });
            let here = format!("#/paths/{}/post/responses/200/content", path("pull").replace('/', "~1"));
            let here = here.replace('{', "%7B").replace('}', "%7D");
            at(d, &format!("~1pull/{RESULT}"))["$ref"] = json!(format!("{here}/application~1json/schema/$defs/Pulled"))
        },
        "only the layout",
    ),
];

fn walk(value: &mut Value, change: &dyn Fn(&mut Value)) {
    match value {
        Value::Object(_) => {
            if value.get("type").is_some() {
                change(value);
            }
            value.as_object_mut().unwrap().values_mut().for_each(|value| walk(value, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, change)),
        _ => {}
    }
}
